-- KEYS: the owner of a call's run
-- ARGV: prefix of all keys, the owner that it gets, a line for the record of its batch, seconds to keep the
--       owner; then facts for `note`
-- Returns 1 if the call is taken out of its batch; nothing if it is in none, or if that was leased.
local batch = (redis.call('GET', KEYS[1]) or ''):match('^[^.]*%.(.*)$')
local key = ARGV[1] .. '{' .. (batch or '') .. '}:outbox'
local record = batch and read(key) or {}
if (record.token or '') ~= '' and record.tries == 0 then
  redis.call('APPEND', key, ARGV[3])
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
  note(5)
  return 1
end
