-- Replayed says that a session has told everything that it did of late.
-- ARGV: now, session, id of the loss.
if loss[3] == ARGV[3] then redis.call('HSET', P .. 'replayed', ARGV[2], ARGV[3]) end
return 1
