"""The run in progress: its scope, its headers, its memos, the states it is shown in."""
