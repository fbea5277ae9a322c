-- Claim takes the next task of a kind: b(ucket), r(ange), c(opy batch).
-- ARGV: now, session, kind, call. Returns {id, payload ...}, {"FENCED"}, {} or {"AGAIN"} when the network
-- repeated the call.
local s, kind = ARGV[2], ARGV[3]
if fenced(s) then return {'FENCED'} end
if again(s, ARGV[4]) then return {'AGAIN'} end
local id = redis.call('LPOP', G .. kind .. 'q')
if not id then
  if kind == 'r' then redis.call('SET', G .. 'hungry', '1', 'PX', 2000) end
  return {}
end
once(s, ARGV[4])
known(s)
redis.call('HSET', G .. 'w:' .. s, kind .. ':' .. id, NOW)
if kind == 'b' then
  redis.call('HSET', G .. 'b:' .. id, 'state', 'Copying')
  return {'OK', id}
elseif kind == 'r' then
  local r = redis.call('HMGET', G .. 'r:' .. id, 'bucket', 'after', 'end', 'cursor')
  return {'OK', id, r[1] or '', r[2] or '', r[3] or '', r[4] or ''}
end
local c = redis.call('HMGET', G .. 'c:' .. id, 'bucket', 'items')
return {'OK', id, c[1] or '', c[2] or ''}
