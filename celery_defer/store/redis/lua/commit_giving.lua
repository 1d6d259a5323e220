-- Comes after commit.lua: gives back the places of the run in the same transaction.
-- ARGV goes on with the index of due times, the channel of the alarm, and what giving.lua takes.
-- Returns the leases of runs to publish; nothing if it could not, which does not undo the result.
if last then
  local is_done, leases = pcall(give_back, last + 2, ARGV[last], ARGV[last + 1])
  return is_done and leases or nil
end
