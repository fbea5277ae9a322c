if not EPOCH then return redis.error_reply('NOROUTE the ledger has no route') end
