"""The name doctor: what is wrong with a name that no rule takes, which name was probably meant, what right ones look like."""
