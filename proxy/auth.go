package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crossfade-io/crossfade/internal/ledger"
	"github.com/crossfade-io/crossfade/internal/s3"
)

// Client is who may sign requests, and whom it is at the stores.
type Client struct {
	// Keys are the ones that it may sign with now: more than one while they rotate.
	Keys s3.KeysFunc
	// Stores are the keys that its requests are signed with at each store, by
	// identity; nil: those of the store's endpoint.
	Stores [2]s3.CredentialsFunc
}

// tableAge is how long the table of keys is used before Secrets are asked again.
const tableAge = time.Second

// clientTable finds the client that an access key ID belongs to.
type clientTable struct {
	clients  []Client
	signers  [][2]*s3.Signer // of each client; nil: the store's own
	building sync.Mutex
	current  atomic.Pointer[keyTable]
}

// keyTable is what the clients' keys were at a time. Access key IDs are no secret;
// what belongs to them is compared by the verifier, in constant time.
type keyTable struct {
	at     time.Time
	keys   map[string][]s3.Credentials
	client map[string]int
}

func newClientTable(clients []Client, stores [2]Store) *clientTable {
	if len(clients) == 0 {
		own := stores[ledger.Source].Endpoint.CredentialsFunc()
		clients = []Client{{Keys: func() []s3.Credentials { return []s3.Credentials{own()} }}}
	}
	t := &clientTable{clients: clients, signers: make([][2]*s3.Signer, len(clients))}
	for i, c := range clients {
		for store, f := range c.Stores {
			if f != nil {
				e := stores[store].Endpoint
				e.Credentials = f
				t.signers[i][store] = s3.NewSigner(e)
			}
		}
	}
	t.current.Store(t.build())
	return t
}

func (t *clientTable) build() *keyTable {
	out := &keyTable{at: time.Now(), keys: map[string][]s3.Credentials{}, client: map[string]int{}}
	for i, c := range t.clients {
		for _, k := range c.Keys() {
			// The first client that has an ID keeps it: it must mean one owner.
			if owner, taken := out.client[k.AccessKeyID]; taken && owner != i {
				continue
			}
			out.client[k.AccessKeyID] = i
			out.keys[k.AccessKeyID] = append(out.keys[k.AccessKeyID], k)
		}
	}
	return out
}

// table returns the keys as they were at most about tableAge ago.
func (t *clientTable) table() *keyTable {
	now := t.current.Load()
	if time.Since(now.at) > tableAge && t.building.TryLock() {
		now = t.build()
		t.current.Store(now)
		t.building.Unlock()
	}
	return now
}

// keys implements [s3.Verifier.Lookup].
func (t *clientTable) keys(accessKeyID string) []s3.Credentials { return t.table().keys[accessKeyID] }

// signersOf returns what a client's requests are signed with at the stores; nil:
// the store's own keys. ok is false when the key has just been taken away.
func (t *clientTable) signersOf(accessKeyID string) (signers [2]*s3.Signer, ok bool) {
	i, ok := t.current.Load().client[accessKeyID]
	if ok {
		signers = t.signers[i]
	}
	return signers, ok
}

// authenticate finds out who sent the request.
func (q *request) authenticate() error {
	var err error
	if q.identity, err = q.p.verifier.Verify(q.r); err == nil {
		return q.actAs(q.identity.AccessKeyID)
	}
	if !errors.Is(err, s3.ErrAnonymous) {
		return err
	}
	if !q.p.cfg.Anonymous {
		return s3.ErrAccessDenied
	}
	q.anonymous = true
	return nil
}

// actAs lets the request go on with a client's rights at the stores.
func (q *request) actAs(accessKeyID string) error {
	var ok bool
	if q.signers, ok = q.p.clients.signersOf(accessKeyID); !ok {
		return s3.ErrInvalidAccessKeyID
	}
	return nil
}

func asError(err error, target **s3.Error) bool { return errors.As(err, target) }
