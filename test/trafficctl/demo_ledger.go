package main

// ledgerDump is a script for Redis that tells what the ledger holds about
// single objects: what is dirty, claimed, in doubt or failed, and by whom.
// Such records are few once a migration has caught up.
const ledgerDump = `
local out, max = {}, 200
for _, key in ipairs(redis.call('KEYS', '*')) do
  local name = key:match('}:(.*)$') or ''
  local kind = name:match('^(%a+):') or name
  if kind == 'o' or kind == 'i' or kind == 'cl' or kind == 's' or name == 'doubt' or name == 'fail' or name == 'q'
    or name == 'u' or name == 'dangling' or name == 'unclean' or name == 'route' then
    local type, value = redis.call('TYPE', key).ok, {}
    if type == 'hash' then value = redis.call('HGETALL', key)
    elseif type == 'set' then value = redis.call('SMEMBERS', key)
    elseif type == 'zset' then value = redis.call('ZRANGE', key, 0, 20, 'WITHSCORES')
    elseif type == 'string' then value = {redis.call('GET', key)} end
    if #out < max then out[#out + 1] = key .. ' = ' .. table.concat(value, ' ') end
  end
end
table.sort(out)
return out`
