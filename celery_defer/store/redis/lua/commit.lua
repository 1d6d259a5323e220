-- KEYS: the result of a run, then the queues that its messages go to
-- ARGV: 1 to keep a SUCCESS that is stored under the first key, the database of results, that of the
--       messages, then the commands that publish and the commands that store: their number, and each
--       as its number of words and the words; then the database of the store, or nothing, and facts for `note`
-- Returns the stored SUCCESS, and does nothing, if there is one to keep; else nothing.
-- Redis does not roll back a script, so the rights of its user are checked before the first write.
-- Messages go first: if one is refused all the same, no result is stored.
local stored = ARGV[1] == '1' and redis.call('GET', KEYS[1])
local meta = stored and cjson.decode(stored) -- raises if it is not JSON; Celery reads it then
if type(meta) == 'table' and meta.status == 'SUCCESS' then
  return stored
end
local function each(at, handle) -- returns where the next commands begin
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    handle(unpack(ARGV, at + 1, at + ARGV[at]))
    at = at + ARGV[at] + 1
  end
  return at
end
if redis.acl_check_cmd then -- since Redis 7
  local function check(name, ...)
    if not redis.acl_check_cmd(name, ...) then
      error('no permission to run ' .. name)
    end
  end
  each(each(4, check), check)
end
if ARGV[3] ~= ARGV[2] then
  redis.call('SELECT', ARGV[3])
end
local results = each(4, redis.call)
if ARGV[3] ~= ARGV[2] then
  redis.call('SELECT', ARGV[2])
end
local database = each(results, redis.call)
local last = ARGV[database] ~= '' and (ARGV[database] == ARGV[2] or pcall(redis.call, 'SELECT', ARGV[database]))
  and note(database + 1)
