"""Tables and lines of what was concluded, in words for people: what the reports and the dashboard's pages print."""
