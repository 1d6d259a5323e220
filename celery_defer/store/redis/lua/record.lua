-- Comes before other scripts, for which it defines how to read a record: one string without field
-- names, because a hash takes half as much memory again. What a lease changes is in front and has a
-- fixed size, so that no script copies a body to change it:
--   a mark, another one if the run was cancelled, the version of this form, tries, lease, over, the
--   lengths of token, step and digest; then token, step, digest and body.
-- Returns {} if there is no record. A token of '' says that this is not a record, or of a later form.
local FORM, HEAD, MARK, CANCELLED, VERSION = '>BBI4ddI2I4I2', 30, 223, 222, 1
local SMALL = 1024 -- bytes; such a record is read as a whole
local function ask(...) -- returns nothing if the key holds another type
  local reply = redis.pcall(...)
  local problem = type(reply) == 'table' and reply.err
  if problem and not problem:find('WRONGTYPE') then
    error(problem)
  end
  return not problem and reply or nil
end
local function read(key)
  local start = ask('GETRANGE', key, 0, SMALL - 1)
  if start == '' then
    return {}
  end
  local mark, version = (start or ''):byte(1, 2)
  if not start or #start < HEAD or (mark ~= MARK and mark ~= CANCELLED) then
    return {token = '', at = 0}
  elseif version > VERSION then
    return {token = '', is_later = true}
  end
  local _, _, tries, lease, over, token, step, digest = struct.unpack(FORM, start)
  local at = HEAD + token + step + digest
  local body = #start < SMALL and start:sub(at + 1) or nil
  start = at > SMALL and redis.call('GETRANGE', key, 0, at - 1) or start
  local record = {tries = tries, lease = lease, over = over >= 0 and over or nil, at = at, body = body}
  record.is_cancelled = mark == CANCELLED
  record.token = start:sub(HEAD + 1, HEAD + token)
  record.step = step > 0 and start:sub(HEAD + token + 1, at - digest) or nil
  record.digest = digest > 0 and start:sub(at - digest + 1, at) or nil
  if #start < at or token == 0 or record.token:find('[^!-~]') then
    return {token = '', at = 0}
  end
  return record
end
local function body_of(key, record)
  return record.body or ask('GETRANGE', key, record.at, -1) or ''
end
