-- KEYS: the index of due times, the channel of the alarm
-- ARGV: prefix of all keys, now and end of a lease (both as seconds from now), seconds to keep a record after
--       its timeout, and to keep owners, seconds after which a relay looks by itself, number of kinds; then of
--       each kind its name, owner, token, head, calls and bytes at most, timeout; then of each call the number
--       of its kind, run id and line
-- Returns the leases of the batches that are full. A full Redis refuses the first write: nothing is done then.
local prefix, ends, keep, claims = ARGV[1], now + ARGV[3], ARGV[4], ARGV[5]
local kinds, full, at = {}, {}, 8
for i = 1, ARGV[7] do
  local kind = {prefix = prefix, name = ARGV[at], due = KEYS[1], channel = KEYS[2]}
  kind.key = prefix .. 'batch:' .. redis.sha1hex(kind.name)
  kind.owner, kind.token, kind.head = ARGV[at + 1] .. '.', ARGV[at + 2], ARGV[at + 3]
  kind.most, kind.most_bytes = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  kind.timeout, kind.time = tonumber(ARGV[at + 6]), now + ARGV[2]
  kinds[i], at = setmetatable(kind, {__index = Kind}), at + 7
  kind:open()
end
local function close(kind)
  kind:flush(keep, tonumber(ARGV[6]))
  table.insert(full, kind:close(ends))
end
for i = at, #ARGV, 3 do
  local kind, id, line = kinds[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  local key = prefix .. '{' .. id .. '}'
  local owner = redis.call('GET', key .. ':owner')
  local first = owner and owner:match('^[^.]*%.')
  local is_free = not owner or (first and first ~= kind.owner)
  if is_free and redis.call('HEXISTS', key .. ':run', 'turn') == 0 then -- a run that has parked has no owner
    if kind.batch and kind.batch.size + #line > kind.most_bytes then
      close(kind)
    end
    if not kind.batch then
      kind:begin(id)
    end
    redis.call('SET', key .. ':owner', kind.owner .. kind.batch.id, 'EX', claims)
    kind:add(line)
    if kind.batch.count >= kind.most then
      close(kind)
    end
  end
end
for _, kind in ipairs(kinds) do
  if kind.batch and #kind.batch.lines > 0 then
    kind:flush(keep, tonumber(ARGV[6]))
  end
end
return full
