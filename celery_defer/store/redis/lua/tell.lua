-- ARGV: facts for `note`
-- Returns nothing.
note(1)
