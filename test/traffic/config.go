// Package traffic drives clients against an S3 endpoint and checks every
// answer against what they know must be there.
//
// Every key has a history of writes with the times at which each began and
// was answered. What a client reads, at whatever moment, must be a write that
// nothing acknowledged has replaced since (see register). Bodies name the key
// and the write that they come from, so that a wrong answer can be named.
package traffic

import (
	"cmp"
	"fmt"
	"time"

	"github.com/crossfade-io/crossfade/test/lab"
	"github.com/crossfade-io/crossfade/test/seed"
)

// Op is the name of an S3 operation, as S3 has it.
type Op string

// The operations that clients use.
const (
	PutObject               Op = "PutObject"
	PutObjectIfNoneMatch    Op = "PutObject If-None-Match"
	DeleteObject            Op = "DeleteObject"
	DeleteObjects           Op = "DeleteObjects"
	CopyObject              Op = "CopyObject"
	GetObject               Op = "GetObject"
	GetObjectRange          Op = "GetObject Range"
	HeadObject              Op = "HeadObject"
	GetObjectTagging        Op = "GetObjectTagging"
	PutObjectTagging        Op = "PutObjectTagging"
	ListObjects             Op = "ListObjects"
	ListObjectsV2           Op = "ListObjectsV2"
	CreateMultipartUpload   Op = "CreateMultipartUpload"
	UploadPart              Op = "UploadPart"
	CompleteMultipartUpload Op = "CompleteMultipartUpload"
	AbortMultipartUpload    Op = "AbortMultipartUpload"
	ListParts               Op = "ListParts"
	ListMultipartUploads    Op = "ListMultipartUploads"
)

// Config says what the clients do. Only Endpoint and Buckets are needed.
type Config struct {
	Endpoint lab.Endpoint
	Buckets  []string // exist already; clients are spread over them

	Prefix        string        // of every key that clients write; default traffic-TIME/
	Clients       int           // default 8
	KeysPerClient int           // default 40
	SharedKeys    int           // keys that all clients write; default 8; negative: none
	Rate          float64       // requests a second of all clients together; default 60
	MaxSize       int64         // bytes of a body in one piece; default 32 KiB
	Mix           map[Op]int    // weights; default Mix()
	Seed          uint64        // of the choices made
	Timeout       time.Duration // of one request; default 60 s
	Settle        time.Duration // how long an unanswered write may still land; default 3 s
	HoldUploads   time.Duration // how long multipart uploads stay open, on average; default 6 s
	PartSize      int64         // default 5 MiB
	Period        string        // label of the first period; default "before"

	// Seeded are objects that are there already and that nobody writes.
	Seeded []seed.Object

	// AllowBroken keeps requests that got no answer (the connection broke or
	// timed out) out of the violations. They are counted all the same.
	AllowBroken bool

	// Excuse tells whether a request may fail as it did, for faults that the
	// caller made. Those failures are counted apart and are no violations.
	Excuse func(Failure) bool

	// IgnoreListed leaves names out that a store lists and nobody wrote, such as
	// its own temporary files.
	IgnoreListed func(name string) bool

	// AbortStrays lets clients abort uploads of their own whose end, or beginning,
	// got no answer. Without it such uploads stay, and hold a switch.
	AbortStrays bool
}

// Failure is a request that failed.
type Failure struct {
	Op         Op
	Start, End time.Time
	Status     int // HTTP; 0: no answer, or one that broke off
	Code       string
	Err        error
}

// DefaultMix returns the weights that Config uses when it has none. Weights of
// multipart uploads count under CreateMultipartUpload; their other requests
// follow from it.
func DefaultMix() map[Op]int {
	return map[Op]int{
		PutObject: 22, PutObjectIfNoneMatch: 4, DeleteObject: 7, DeleteObjects: 2, CopyObject: 4,
		GetObject: 24, GetObjectRange: 5, HeadObject: 10, GetObjectTagging: 4, PutObjectTagging: 4,
		ListObjectsV2: 6, ListObjects: 3, CreateMultipartUpload: 1, ListMultipartUploads: 1,
	}
}

func (c *Config) defaults() error {
	if c.Endpoint.URL == "" || len(c.Buckets) == 0 {
		return fmt.Errorf("traffic: an endpoint and at least one bucket are needed")
	}
	c.Prefix = cmp.Or(c.Prefix, fmt.Sprintf("traffic-%d/", time.Now().UnixMilli()))
	c.Clients = cmp.Or(c.Clients, 8)
	c.KeysPerClient = cmp.Or(c.KeysPerClient, 40)
	c.SharedKeys = cmp.Or(c.SharedKeys, 8)
	c.Rate = cmp.Or(c.Rate, 60)
	c.MaxSize = cmp.Or(c.MaxSize, 32<<10)
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.Settle = cmp.Or(c.Settle, 3*time.Second)
	c.HoldUploads = cmp.Or(c.HoldUploads, 6*time.Second)
	c.PartSize = cmp.Or(c.PartSize, 5<<20)
	c.Period = cmp.Or(c.Period, "before")
	if c.Mix == nil {
		c.Mix = DefaultMix()
	}
	return nil
}
