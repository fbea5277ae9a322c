package lab

import (
	"bytes"
	"testing"
)

func TestBodyNamesItself(t *testing.T) {
	for name, key := range map[string]string{"plain": "a/b", "odd": "ü \"q\"\n+%41", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			b := Body(key, 42, 4096)
			if !bytes.Equal(b, Body(key, 42, 4096)) {
				t.Fatal("the same write has two bodies")
			}
			k, seq, ok := BodyName(b[:256])
			if !ok || k != key || seq != 42 {
				t.Fatalf("BodyName = %q, %d, %v", k, seq, ok)
			}
		})
	}
}

func TestETagOfParts(t *testing.T) {
	body := []byte("hello world")
	if got, want := ETag(body, 0), "5eb63bbbe01eeed093cb22bb8f5acdc3"; got != want {
		t.Errorf("ETag = %s, want %s", got, want)
	}
	if got, want := ETag(body, 6), "e09e4fd6265b36115fe3db32df945d84-2"; got != want {
		t.Errorf("multipart ETag = %s, want %s", got, want)
	}
}
