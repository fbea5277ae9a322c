-- Claim takes a task of the audit: a (range) or z (keys set aside, once they are due). There is none
-- while a switch is under way, unless it waits for this audit, or while nobody keeps the follower in sync.
-- ARGV: now, session, kind, call. Returns {"OK", id, audit, mode, repair, began, explained, foreign, switch, token, payload ...},
-- {"FENCED"}, {} or {"AGAIN"} when the network repeated the call.
local s, kind = ARGV[2], ARGV[3]
if fenced(s) then return {'FENCED'} end
if again(s, ARGV[4]) then return {'AGAIN'} end
local r = redis.call('HMGET', G .. 'route', 'state', 'sync', 'run')
local during = r[1] == 'Switched' and redis.call('HGET', AUDIT, 'switch') == '1'
if r[1] ~= 'Steady' and not during or r[2] ~= '1' or r[3] ~= '1' then return {} end
if redis.call('HGET', AUDIT, 'result') ~= '' then return {} end
for _ = 1, redis.call('LLEN', G .. kind .. 'q') do
  local id = redis.call('LPOP', G .. kind .. 'q')
  local f = kind .. ':' .. id
  -- A session that was buried may have given back a task of an audit that is gone.
  if redis.call('SISMEMBER', G .. 'atasks', f) == 1 then
    if kind == 'z' and tonumber(redis.call('HGET', G .. f, 'due')) > NOW then
      redis.call('RPUSH', G .. 'zq', id)
    else
      local token = redis.call('INCR', G .. 'next')
      redis.call('HSET', G .. 'w:' .. s, f, token)
      once(s, ARGV[4])
      known(s)
      local a = redis.call('HMGET', AUDIT, 'id', 'mode', 'repair', 'began', 'explained', 'foreign', 'switch')
      local t = kind == 'a' and redis.call('HMGET', G .. f, 'bucket', 'after', 'end', 'cursor') or redis.call('HMGET', G .. f, 'bucket', 'items')
      return {'OK', id, a[1], a[2], a[3], a[4], a[5], a[6], a[7] or '', tostring(token), t[1], t[2], t[3] or '', t[4] or ''}
    end
  end
end
if kind == 'a' then redis.call('SET', G .. 'hungrya', '1', 'PX', 2000) end
return {}
