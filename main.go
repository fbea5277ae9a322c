// Command crossfade moves S3 buckets between object stores while clients keep
// reading and writing.
package main

import (
	"os"

	"github.com/crossfade-io/crossfade/internal/app"
)

func main() { os.Exit(app.Main()) }
