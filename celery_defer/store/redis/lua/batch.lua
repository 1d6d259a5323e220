-- Comes before gather.lua and after lease.lua, for which it defines the batches of one kind.
-- A kind has a prefix of keys, the key that says which record is open, the index of due times, the channel
-- of the alarm, and what gather.lua is told of it. Lines are written together, at the end or if one is full.
local Kind = {}
function Kind:outbox(id)
  return self.prefix .. '{' .. id .. '}:outbox'
end
function Kind:open() -- finds the record that takes calls: not due yet, and never leased
  local id, token, count, size = unpack(redis.call('HMGET', self.key, 'id', 'token', 'count', 'size'))
  local due = id and redis.call('ZSCORE', self.due, id)
  if due and tonumber(due) > self.time then
    local record = read(self:outbox(id))
    if record.token == token and record.tries == 0 then
      self.batch = {id = id, token = token, count = tonumber(count), size = tonumber(size), lines = {}}
    end
  end
end
function Kind:begin(first) -- a record whose id is computed from that of its first call
  local hex = redis.sha1hex('batch:' .. self.name .. ':' .. first)
  local id = ('%s-%s-%s-%s-%s'):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21, 32))
  self.batch = {id = id, token = self.token, count = 0, size = 0, lines = {self.head}, is_new = true}
end
function Kind:add(line)
  table.insert(self.batch.lines, line)
  self.batch.count, self.batch.size = self.batch.count + 1, self.batch.size + #line
end
function Kind:flush(keep, soon)
  local batch = self.batch
  local key, lines = self:outbox(batch.id), table.concat(batch.lines)
  if batch.is_new then
    write(key, {token = batch.token}, lines, 'EX', math.ceil(keep + self.timeout))
    redis.call('ZADD', self.due, self.time + self.timeout, batch.id)
    if self.timeout < soon then
      redis.call('PUBLISH', self.channel, self.timeout)
    end
  else
    redis.call('APPEND', key, lines)
  end
  redis.call('HSET', self.key, 'id', batch.id, 'token', batch.token, 'count', batch.count, 'size', batch.size)
  redis.call('EXPIRE', self.key, math.ceil(self.timeout) + 60)
  batch.lines, batch.is_new = {}, nil
end
function Kind:close(ends) -- leases the record to the caller
  local id = self.batch.id
  redis.call('DEL', self.key)
  self.batch = nil
  local key = self:outbox(id)
  return lease(key, read(key), self.due, id, ends)
end
