-- KEYS: the run's owner, the run, and for a run that was invoked: its record, the index of due times
-- ARGV: owner, seconds to keep, run id, 1 if this is a retry, then facts for `note`, if the caller owns the
--       run, or is a retry of the message that does
-- Returns {owner of the run, 1 if that is the caller}; a run that has parked has no owner here. What an
-- owner has before its first dot stands for its task: an owner of another task does not count.
if redis.call('HEXISTS', KEYS[2], 'turn') == 1 then
  return {'', 0}
end
local owner = redis.call('GET', KEYS[1]) -- first, because a full Redis refuses to set anything
local first, mine = (owner or ''):match('^[^.]*%.'), ARGV[1]:match('^[^.]*%.')
if not owner or (first and mine and first ~= mine) then
  owner = ARGV[1]
  redis.call('SET', KEYS[1], owner, 'EX', ARGV[2])
else
  redis.call('EXPIRE', KEYS[1], ARGV[2]) -- after one duplicate there may be more
end
if KEYS[3] and owner == ARGV[1] then -- the record was for the case that its message is lost
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
end
if owner == ARGV[1] or (ARGV[4] == '1' and owner:match('^.*%.') == ARGV[1]:match('^.*%.')) then
  note(5)
end
return {owner, owner == ARGV[1] and 1 or 0}
