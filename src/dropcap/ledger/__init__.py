"""What has happened to every job: the one place where intake and delivery meet."""
