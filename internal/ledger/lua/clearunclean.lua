-- ClearUnclean forgets the unclean events before a time. ARGV: now, ms. Returns how many.
local n = 0
local all = redis.call('HGETALL', G .. 'unclean')
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) < tonumber(ARGV[2]) then n = n + redis.call('HDEL', G .. 'unclean', all[i]) end
end
return n
