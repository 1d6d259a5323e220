-- KEYS: the result of a run, then the queues that its messages go to
-- ARGV: 1 to keep a SUCCESS that is stored under the first key, the database of results, that of the
--       messages, then the commands that publish and the commands that store: their number, and each
--       as its number of words and the words
-- Returns the stored SUCCESS, and does nothing, if there is one to keep; else nothing.
-- Messages go first: if one is refused, no result is stored.
local stored = ARGV[1] == '1' and redis.call('GET', KEYS[1])
local meta = stored and cjson.decode(stored) -- raises if it is not JSON; Celery reads it then
if type(meta) == 'table' and meta.status == 'SUCCESS' then
  return stored
end
local at = 4
local function execute()
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    redis.call(unpack(ARGV, at + 1, at + ARGV[at]))
    at = at + ARGV[at] + 1
  end
end
if ARGV[3] ~= ARGV[2] then
  redis.call('SELECT', ARGV[3])
end
execute()
if ARGV[3] ~= ARGV[2] then
  redis.call('SELECT', ARGV[2])
end
execute()
