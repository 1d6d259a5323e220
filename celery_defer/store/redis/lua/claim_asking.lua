-- KEYS: the run's owner, the run, its record, the index of due times, the channel of the alarm
-- ARGV: owner, seconds to keep, run id, 1 if this is a retry, 1 if the record is removed, then what the run
--       asks with, then facts for `note`
-- Returns {owner of the run, 1 if that is the caller, what becomes of the run}; as claim.lua, which is for a
-- run that does not ask. The last is nothing if the owner is of another message.
if redis.call('HEXISTS', KEYS[2], 'turn') == 1 then
  return {'', 0}
end
local owner = redis.call('GET', KEYS[1]) -- first, because a full Redis refuses to set anything
local first, mine = (owner or ''):match('^[^.]*%.'), ARGV[1]:match('^[^.]*%.')
local is_first = not owner or (first and mine and first ~= mine)
if is_first then
  owner = ARGV[1]
  redis.call('SET', KEYS[1], owner, 'EX', ARGV[2])
else
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
if ARGV[5] == '1' and owner == ARGV[1] then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
end
if owner ~= ARGV[1] and owner:match('^.*%.') ~= ARGV[1]:match('^.*%.') then
  return {owner, 0}
end
local arrival, last = asked(6, KEYS[5])
local admission = arrival.drop and cmsgpack.unpack(arrival.drop) or admit(arrival, is_first, false)
if admission[1] == 'drop' then
  redis.call('HSET', KEYS[2], 'f:drop', cmsgpack.pack(admission))
  keep(KEYS[2], ARGV[2])
elseif is_first then
  mark(arrival, admission[1] == 'go' and admission[3] or admission[5])
end
if admission[1] == 'go' then
  start(arrival, admission[2])
  if owner == ARGV[1] or ARGV[4] == '1' then
    note(last)
  end
end
return {owner, owner == ARGV[1] and 1 or 0, admission}
