-- KEYS: the result of a run, then the queues that its messages go to
-- ARGV: 1 if a SUCCESS that is stored under the first key is to be kept, the database of results, that
--       of the messages, then the commands that publish and the commands that store: how many there
--       are, and each as its number of words and the words
-- Returns the SUCCESS that it has kept, for then it does nothing; else nothing.
-- Messages go first: if one is refused, no result is stored.
local stored = ARGV[1] == '1' and redis.call('GET', KEYS[1])
local meta = stored and cjson.decode(stored) -- raises for what is for Celery to read
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
