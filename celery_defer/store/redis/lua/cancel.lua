-- KEYS: the run, its record, the index of due times, the index of waits, the index of deadlines
-- ARGV: run id, seconds to keep, 1 to cancel only a parked run, in how many seconds a relay may
--       take the record, why
-- Returns the body of the record if the run was parked, or what the run has kept for its end.
local ends = now + ARGV[4]
return cancel(ARGV[1], KEYS[1], {KEYS[2], KEYS[3], KEYS[4], KEYS[5]}, ARGV[5], ARGV[2], ends, ends, ARGV[3] == '1')
