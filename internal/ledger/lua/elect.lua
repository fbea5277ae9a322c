-- Elect gives one session a named lease. ARGV: now, session, name, ttl ms. Returns 1 if it is held by this session.
local k = G .. 'lease:' .. ARGV[3]
local h = redis.call('GET', k)
if h and h ~= ARGV[2] then return 0 end
redis.call('SET', k, ARGV[2], 'PX', ARGV[4])
return 1
