package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// setting is one part of a bucket's configuration.
type setting struct {
	name string
	// read returns what a store has, nil for nothing. It is brought into the
	// form in which two stores' values can be compared.
	read func(ctx context.Context, s *store, bucket string) (any, error)
	// write puts a value; remove makes the store have none. remove may be nil
	// where "none" can't come back.
	write  func(ctx context.Context, s *store, bucket string, v any) error
	remove func(ctx context.Context, s *store, bucket string) error
	// absent are the error codes by which a store says that it has none.
	absent []string
	// later: only read, and put in place by a switch.
	later bool
	// keep: what the follower has already stays.
	keep bool
}

// change puts a setting into place on the follower, and returns why it could not,
// "" if it is there. nil: there is nothing to do.
type change func(context.Context) (note string, err error)

// differences are what a follower's bucket, which need not exist yet, lacks of the
// configuration of main's.
type differences struct {
	changes []change // in the order of settings
	notes   []string // what is told of each
	more    []string
}

// settingsAtOnce is how many settings of a bucket are compared at a time.
const settingsAtOnce = 4

// compareSettings reads both buckets' configuration. It changes nothing.
func compareSettings(ctx context.Context, from, to *store, bucket string) (differences, error) {
	d := differences{changes: make([]change, len(settings)), notes: make([]string, len(settings))}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(settingsAtOnce)
	for i, s := range settings {
		g.Go(func() (err error) {
			d.changes[i], d.notes[i], err = s.compare(gctx, from, to, bucket)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return d, err
	}
	if v, err := versioning.get(ctx, from, from.bucket(bucket)); err == nil && v != nil {
		d.more = append(d.more, olderVersions)
	}
	return d, nil
}

// apply puts what differs into place and names what the follower could not take,
// or not yet. An error means that the bucket should be tried again.
func (d differences) apply(ctx context.Context) ([]string, error) {
	var unsupported []string
	for i, put := range d.changes {
		note := d.notes[i]
		if put != nil {
			var err error
			if note, err = put(ctx); err != nil {
				return nil, err
			}
		}
		unsupported = settings[i].noted(unsupported, note)
	}
	return append(unsupported, d.more...), nil
}

// olderVersions is told of buckets that have, or had, versioning.
const olderVersions = "versions: only the newest version of each object is copied"

// noted is a report with a note on this setting, or without one when it is "".
func (s setting) noted(report []string, note string) []string {
	out := slices.DeleteFunc(slices.Clone(report), func(line string) bool { return strings.HasPrefix(line, s.name+": ") })
	if note != "" {
		out = append(out, s.name+": "+note)
	}
	return out
}

// copy compares the setting and puts it into place.
func (s setting) copy(ctx context.Context, from, to *store, bucket string) (note string, err error) {
	put, note, err := s.compare(ctx, from, to, bucket)
	if put == nil || err != nil {
		return note, err
	}
	return put(ctx)
}

func (s setting) compare(ctx context.Context, from, to *store, bucket string) (put change, note string, err error) {
	src, dst := from.bucket(bucket), to.bucket(bucket)
	want, err := s.get(ctx, from, src)
	switch class := s3.Classify(err); {
	case class == s3.Unsupported:
		return nil, "", nil // a store without it has none
	case class == s3.Denied || class == s3.Fatal:
		return nil, "cannot be read on the " + from.id.String() + " store (" + codeOf(err) + ")", nil
	case err != nil:
		return nil, "", from.wrap("read "+s.name, err)
	}
	if s.later {
		if want == nil {
			return nil, "", nil
		}
		return nil, "put with the switch", nil
	}
	if p, ok := want.(*string); ok && src != dst {
		want = renamed(p, src, dst)
	}
	have, err := s.get(ctx, to, dst)
	switch {
	case err == nil && reflect.DeepEqual(want, have), s.keep && have != nil:
		return nil, "", nil
	case want != nil:
		return func(ctx context.Context) (string, error) { return s.put(ctx, to, dst, want) }, "", nil
	case err != nil || have == nil || s.remove == nil:
		return nil, "", nil
	}
	return func(ctx context.Context) (string, error) {
		return s.tell(ctx, to, dst, func() error { return s.remove(ctx, to, dst) })
	}, "", nil
}

func (s setting) put(ctx context.Context, to *store, dst string, want any) (note string, err error) {
	note, err = s.tell(ctx, to, dst, func() error { return s.write(ctx, to, dst, want) })
	if note != "" || err != nil {
		return note, err
	}
	// Old stores take an unknown subresource for something else and say 200.
	have, err := s.get(ctx, to, dst)
	if err == nil && have == nil {
		return "target accepted it but did not keep it", nil
	}
	return "", nil
}

func (s setting) get(ctx context.Context, st *store, bucket string) (any, error) {
	v, err := s.read(ctx, st, bucket)
	if isCode(err, s.absent...) {
		return nil, nil
	}
	return v, err
}

// tell does a change of the setting and says what came of it. A refusal without a code of a
// store's own may be a gateway's, while the store is away: it counts only if the bucket is
// served, and it comes again.
func (s setting) tell(ctx context.Context, to *store, dst string, do func() error) (note string, err error) {
	for try := 0; ; try++ {
		refused := do()
		note, err = refusal(to, s.name, refused)
		if note == "" || err != nil || try > 0 || s3.Classify(refused) == s3.Unsupported || !nameless(refused) {
			return note, err
		}
		if _, err := to.api.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &dst}); err != nil {
			return "", to.wrap("write "+s.name, err)
		}
	}
}

// nameless says that a refused request was answered without an error code of a store's own.
func nameless(err error) bool {
	if errors.As(err, new(partial)) {
		return false
	}
	code, status := s3.ErrorCode(err)
	return code == "" || code == strings.ReplaceAll(http.StatusText(status), " ", "")
}

// refusal tells a store that can't from one that just failed.
func refusal(to *store, name string, err error) (note string, _ error) {
	var p partial
	if errors.As(err, &p) {
		return string(p), nil
	}
	switch s3.Classify(err) {
	case s3.None:
		return "", nil
	case s3.Unsupported:
		return "target does not support it (" + codeOf(err) + ")", nil
	case s3.Denied, s3.Fatal, s3.Precondition, s3.NotFound:
		return "target refuses it (" + codeOf(err) + ")", nil
	default:
		return "", to.wrap("write "+name, err)
	}
}

func codeOf(err error) string {
	code, status := s3.ErrorCode(err)
	if code != "" {
		return code
	}
	if status != 0 {
		return fmt.Sprintf("HTTP status %d", status)
	}
	return "no S3 answer"
}

// renamed rewrites a bucket's name in a policy's ARNs.
func renamed(policy *string, src, dst string) *string {
	p := strings.NewReplacer(
		":::"+src+`"`, ":::"+dst+`"`,
		":::"+src+"/", ":::"+dst+"/",
	).Replace(*policy)
	return &p
}

// ApplyLifecycle puts a bucket's lifecycle rules on the follower, which is done
// at the end so that nothing expires there while it is being copied: from the
// old main to the new one, unless that has rules of its own by now. It returns
// why the rules could not be put, "" if they are in place.
func (w *Worker) ApplyLifecycle(ctx context.Context, bucket string) (string, error) {
	r, ok := w.member.Route()
	if !ok {
		return "", errors.New("no route is known yet")
	}
	now := lifecycle
	now.later, now.keep = false, true
	return now.copy(ctx, w.stores[r.Main.Other()], w.stores[r.Main], bucket)
}
