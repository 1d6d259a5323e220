-- KEYS: the scores of the run, its experiments, then what shows that the run is known: history, owner, steps
-- ARGV: the prefix of all keys, run, task or nothing, seconds to keep, 1 if the run is known, the number of
--       experiments that it carries, then each with its assigned run, then for each score: key or nothing, name,
--       step with a 's' before it or nothing, value, what else it says in JSON, the run that wrote it or nothing
-- Returns for each score a 1 if it is new, else a 0.
-- Scores are one hash: k<key> or r<number> is a score (when, number, value, JSON and the run that wrote it, in
-- three lines), l<name><0><step> the field of the last one, t the task.
local ROW, prefix, run, task, keep = '<dI4', ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local function is_known(step)
  if ARGV[5] == '1' then
    return true
  elseif step ~= '' then
    step = step:sub(2)
    return redis.call('HEXISTS', KEYS[5], 'm:' .. step) + redis.call('HEXISTS', KEYS[5], 'w:' .. step) > 0
  elseif redis.call('EXISTS', KEYS[1]) == 1 then
    return not redis.call('ZSCORE', prefix .. 'orphans', run)
  end
  return redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5]) > 0
end
local function task_of()
  local known = redis.call('HGET', KEYS[1], 't') or (task ~= '' and task)
  return known or redis.call('GETRANGE', KEYS[3], HISTORY_HEAD, HISTORY_HEAD + 1024):match('^{"t":"([^"\\]*)"')
end
local function list(key, member)
  number = number + 1
  redis.call('ZADD', key, string.format('%.6f', now + number / 1e6), member)
  refresh(key, keep)
  trim(key, now - keep)
end
local carried, at = {}, 7
for name, _, assigned in carried_by(prefix, run):gmatch('(%Z+)%z(%Z+)%z(%Z+)%z') do
  carried[name] = assigned
end
for _ = 1, tonumber(ARGV[6]) do
  carried[ARGV[at]], at = ARGV[at + 1], at + 2
end
local reply, is_written, is_orphan = {}, false, false
for i = at, #ARGV, 6 do
  local key, name, step, value, text, by = unpack(ARGV, i, i + 5)
  local target, says = 'l' .. name .. '\0' .. step, value .. '\n' .. text .. '\n'
  local last = redis.call('HGET', KEYS[1], target)
  local before = last and redis.call('HGET', KEYS[1], last):sub(13)
  local is_there = key ~= '' and redis.call('HEXISTS', KEYS[1], 'k' .. key) == 1
  local is_new = not is_there and not (key == '' and before and before:sub(1, #says) == says)
  table.insert(reply, is_new and 1 or 0)
  if is_new then
    is_orphan = not is_known(step) or is_orphan
    local size = redis.call('HLEN', KEYS[1])
    local field = key ~= '' and 'k' .. key or 'r' .. size
    for experiment, assigned in pairs(carried) do
      local of = '\n' .. pair(assigned, run == assigned and step == '' and run or run .. '\0' .. step)
      local values = prefix .. 'values:' .. experiment .. "'" .. name
      list(values, value .. of)
      list(prefix .. 'score-names:' .. experiment, name)
      local old = before and before:match('^[^\n]*')
      if old and old ~= value then
        redis.call('ZREM', values, old .. of)
      end
    end
    -- Last, so that a score is written again if its lists could not be.
    redis.call('HSET', KEYS[1], field, struct.pack(ROW, now, size) .. says .. by, target, field)
    redis.call('EXPIRE', KEYS[1], math.max(keep, redis.call('TTL', KEYS[1])))
    is_written = true
  end
end
if is_written then
  local known = task_of()
  if known then
    redis.call('HSETNX', KEYS[1], 't', known)
    list(prefix .. 'scored:' .. known, run)
  end
  list(prefix .. 'scored', run)
  if is_orphan then
    list(prefix .. 'orphans', run)
  end
end
return reply
