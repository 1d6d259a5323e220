-- Comes before other scripts and after now.lua, for which it defines a function.
-- Writes facts about runs into their histories: ARGV[at] is their number; if there are any, then comes
-- the prefix of all keys, and the facts, each packed in one string, for many words take longer to send:
--   state, attempt, seconds to keep, seconds since it was deferred and started (or -1), the lengths of id,
--   raw id, task, about, told and experiments; then these texts, and the tags, with a byte 0 in between.
-- Returns where ARGV goes on. A fact that cannot be written does not fail the script.
-- A history is one string: version, state, attempts, when deferred, published, started and finished, the
-- length of *about*, then *about* (what the run is) and *told* (what it has done). A run is in the log of
-- its task, and in the list of its state, unless most runs are in that: published (P), succeeded (S).
local HISTORY, HISTORY_HEAD, number = '<BBHddddI4', 40, 0
local OPEN, LISTED = {B = 1, P = 1, R = 1, W = 1, H = 1}, 'BRWHFKAEQ'
local function refresh(list, keep) -- a list of runs, which lives a tenth longer than they do
  local is_old = redis.call('TTL', list) < tonumber(keep)
  if is_old then
    redis.call('EXPIRE', list, math.ceil(keep * 1.1))
  end
  return is_old
end
local function enlist(list, id, keep, trims)
  redis.call('ZADD', list, string.format('%.6f', now + number / 1e6), id)
  if refresh(list, keep) and trims then
    local old = redis.call('ZCOUNT', list, '-inf', now - keep)
    if old > 0 then -- not all at once, so that nobody waits for it
      redis.call('ZREMRANGEBYRANK', list, 0, math.min(old, 10000) - 1)
    end
    if old > 10000 then -- the others follow within a second
      redis.call('EXPIRE', list, keep)
    end
  end
end
local function log(list, keep, field, value) -- in the order of time, by which it is trimmed
  local oldest = math.max(math.floor((now - keep) * 1000), 0)
  local place = string.format('%d-%d', now * 1000, now * 1e6 % 1000 * 1000 + number)
  if not redis.pcall('XADD', list, 'MINID', '~', oldest, place, field, value).err then
    return
  end -- the server's time went back
  local last = redis.call('XREVRANGE', list, '+', '-', 'COUNT', 1)[1]
  if last and tonumber(last[1]:match('%d+')) > (now + keep) * 1000 then -- it would not be trimmed
    redis.call('DEL', list)
  end
  redis.call('XADD', list, '*', field, value)
end
local function pair(run, carrier) -- returns how lists name an assigned run, and one that carries its experiment
  return #run .. ':' .. run .. (carrier == run and '' or carrier)
end
local function trim(list, before) -- a few at a time, so that nobody waits for it
  local old = redis.call('ZRANGEBYSCORE', list, '-inf', before, 'LIMIT', 0, 10)
  if #old > 0 then
    redis.call('ZREM', list, unpack(old))
  end
end
local function carried_by(prefix, id) -- returns the experiments as text: each with variant and assigned run
  local parts, known = {}, redis.call('HGETALL', prefix .. '{' .. id .. '}:experiments')
  for i = 1, #known, 2 do
    table.insert(parts, known[i] .. '\0' .. known[i + 1] .. '\0')
  end
  return table.concat(parts)
end
local function follow(prefix, id, state, keep, carried, is_said) -- keeps up who of an experiment has not ended
  local key = prefix .. '{' .. id .. '}:experiments'
  for name, variant, run in carried:gmatch('(%Z+)%z(%Z+)%z(%Z+)%z') do
    local open, left = prefix .. 'open:' .. name, redis.call('TTL', prefix .. 'assigned:' .. name)
    if OPEN[state] then
      redis.call('ZADD', open, now + keep, pair(run, id))
      refresh(open, math.max(keep, left))
      trim(open, now)
    else
      redis.call('ZREM', open, pair(run, id))
    end
    if state ~= 'K' and state ~= 'X' then
      redis.call('HSETNX', key, name, variant .. '\0' .. run)
      redis.call('EXPIRE', key, math.max(keep, left, redis.call('TTL', key)))
    elseif state == 'K' and is_said then
      local list = prefix .. 'unsampled:' .. name
      redis.call('ZADD', list, now, run)
      refresh(list, math.max(keep, left))
      trim(list, now - math.max(keep, left))
    end
  end
end
local function ends_or_restarts(state, attempt, was, about) -- of what may have taken a variant before
  if OPEN[state] then
    return about == '' and state == 'W' and attempt == 0
  end -- most runs succeed at once, and are not looked up
  return about == '' or state ~= 'S' or attempt > 1 or was == 'W'
end
local function complete(key, about, at) -- the history of a call at once, which its run has begun
  local body = redis.call('GET', key)
  local _, state, tries, deferred, _, started, finished, size = struct.unpack(HISTORY, body)
  local head = struct.pack(HISTORY, 1, state, tries, deferred, at, started, finished, #about)
  redis.call('SET', key, head .. about .. body:sub(HISTORY_HEAD + size + 1), 'KEEPTTL')
end
local function learn(prefix, fact)
  local state, attempt, keep, deferred, started, ids, raws, tasks, abouts, tolds, carries, at =
    struct.unpack('<c1HI4ddHBHI4I4I4', fact)
  local function text(length)
    at = at + length
    return fact:sub(at - length, at - 1)
  end
  local id, raw, task, about, told = text(ids), text(raws), text(tasks), text(abouts), text(tolds)
  local carried = text(carries)
  number = number + 1
  local key, list = prefix .. '{' .. id .. '}:history', prefix .. 'runs:'
  local old = redis.call('GETRANGE', key, 0, HISTORY_HEAD - 1)
  local is_new, was, tries, times, size = old == '', nil, 0, {0, 0, 0, 0}, #about
  if not is_new then
    local version, letter, count, a, b, c, d, length = struct.unpack(HISTORY, old)
    if version > 1 then -- of a later version of the package
      return
    end
    was, tries, times, size = string.char(letter), count, {a, b, c, d}, length
  end
  local is_early = state == 'B' or state == 'P' or state == 'X'
  local is_late = is_early and was ~= 'B' and not (state == 'B' and was == 'Q') -- it is tried again
  if is_new and state ~= 'B' and state ~= 'P' then -- the old one has expired, perhaps while it was parked
    redis.call('ZREM', list .. 'W:' .. task, id)
  end
  if was == 'S' and state == 'S' and told ~= '' then -- another block with this id
    redis.call('APPEND', key, '\n' .. told)
  end
  if is_late and state == 'P' and times[2] == 0 and about ~= '' and #about ~= size then
    complete(key, about, times[1] > 0 and times[1] or now - math.max(deferred, 0))
  end
  if was == 'S' or (not is_new and is_late) then
    return
  end
  if carries > 0 then
    pcall(follow, prefix, id, state, keep, carried, true)
  elseif ends_or_restarts(state, attempt, was, about) then
    pcall(function()
      follow(prefix, id, state, keep, carried_by(prefix, id))
    end)
  end
  if is_new and about == '' then
    return
  elseif was and LISTED:find(was) then
    redis.call('ZREM', list .. was .. ':' .. task, id)
  end
  if state == 'X' then
    return redis.call('DEL', key)
  end
  if state == 'W' and attempt == 0 then -- it is restarted
    tries, times[2], times[3] = 0, now, 0
  end
  times[1] = deferred >= 0 and times[1] == 0 and now - deferred or times[1]
  times[2] = state == 'P' and now or times[2]
  if started >= 0 and times[3] == 0 then
    times[3] = now - started
  end
  times[4] = not OPEN[state] and now or 0
  tries = math.max(tries, attempt)
  local head = struct.pack(HISTORY, 1, state:byte(), tries, times[1], times[2], times[3], times[4], size)
  if is_new then
    redis.call('SET', key, head .. about .. told, 'EX', keep)
    local runs = prefix .. 'log:' .. task
    log(runs, keep, raw == '' and 'i' or 'u', raw == '' and id or raw)
    if refresh(runs, keep) then
      enlist(prefix .. 'tasks', task, keep, true)
    end
  elseif told == '' then
    redis.call('SETRANGE', key, 0, head)
  else
    local kept = redis.call('GETRANGE', key, HISTORY_HEAD, HISTORY_HEAD + size - 1)
    redis.call('SET', key, head .. kept .. told, 'KEEPTTL')
  end
  if not is_new and (not OPEN[state] or redis.call('TTL', key) < tonumber(keep)) then
    redis.call('EXPIRE', key, keep)
  end
  if LISTED:find(state) then
    enlist(list .. state .. ':' .. task, id, keep, state ~= 'W')
  end
  for tag in fact:sub(at):gmatch('%Z+') do
    enlist(prefix .. 'tag:' .. tag, id, keep, true)
  end
end
local function note(at)
  local count = tonumber(ARGV[at] or 0)
  for i = at + 2, at + 1 + count do
    pcall(learn, ARGV[at + 1], ARGV[i])
  end
  return at + 1 + (count > 0 and count + 1 or 0)
end
