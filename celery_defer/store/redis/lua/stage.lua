-- KEYS: the record, the index of due times, the index of waits
-- ARGV: run id, token, body, seconds until due, seconds to keep, 1 if an earlier record is replaced, then
--       facts for `note`
-- Returns 1 if the record is stored, 0 if an earlier one stays. A full Redis refuses the first write,
-- so no part of this is done alone.
local token = ARGV[6] == '0' and read(KEYS[1]).token
if token and token ~= ARGV[2] then
  return 0
end
write(KEYS[1], {token = ARGV[2]}, ARGV[3], 'EX', ARGV[5])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1]) -- an earlier record may be of a parked run
note(7)
return 1
