package app

import (
	"io"
	"testing"
)

func TestTheManagerRefusesFlagsThatWouldFailLater(t *testing.T) {
	t.Setenv("CROSSFADE_IMAGE", "")
	for want, args := range map[string][]string{
		"--image: name the image": nil,
		"--image-pull-policy is Always, IfNotPresent or Never, not \"Sometimes\"": {"--image", "x", "--image-pull-policy", "Sometimes"},
		"--redis-storage-size:": {"--image", "x", "--redis-storage-size", "lots"},
	} {
		cmd := Command()
		cmd.SetArgs(append([]string{"manager"}, args...))
		cmd.SetOut(io.Discard)
		wantError(t, cmd.ExecuteContext(t.Context()), want)
	}
}
