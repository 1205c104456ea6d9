"""What can be known before a file is dropped: this machine, the folders, the projects, the files that lie there."""
