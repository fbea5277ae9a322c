-- Release gives a task back to its queue. ARGV: now, session, field. Returns 1, or 0 when it is not ours.
if redis.call('HEXISTS', G .. 'w:' .. ARGV[2], ARGV[3]) == 0 then return 0 end
requeue(ARGV[2], ARGV[3])
return 1
