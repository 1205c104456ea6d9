"""The languages of the texts in the share: one gettext catalogue each."""
