-- CloseOld has no write begin on the old store any more. What is open there, or newest,
-- from then on only becomes less: a switch may end once a look that came after has seen none.
-- ARGV: now, epoch.
if EPOCH == ARGV[2] then redis.call('HSET', P .. 'route', 'closed', EPOCH) end
return EPOCH
