// mkimage writes a container image as a docker-archive tar with one layer,
// without a container engine. `ctr images import`, `docker load` and `kind load
// image-archive` take it. The same input gives the same bytes.
//
//	mkimage -o x.tar -tag localhost/x:dev -entrypoint /x SOURCE:/DESTINATION... :/DIRECTORY[:MODE]...
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// users are the two that an image knows.
const (
	users  = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
	groups = "root:x:0:\nnonroot:x:65532:\n"
	caCert = "/etc/ssl/certs/ca-certificates.crt"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkimage: ")
	out := flag.String("o", "image.tar", "file to write")
	tag := flag.String("tag", "", "name of the image")
	user := flag.String("user", "65532:65532", "user and group that the image runs as")
	entrypoint := flag.String("entrypoint", "", "command, split at spaces")
	workdir := flag.String("workdir", "/", "working directory")
	flag.Parse()

	layer, err := buildLayer(flag.Args())
	if err != nil {
		log.Fatal(err)
	}
	config := map[string]any{
		"Entrypoint": strings.Fields(*entrypoint),
		"User":       *user,
		"WorkingDir": *workdir,
		"Env":        []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
	}
	archive, err := buildArchive(*tag, config, layer)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, archive, 0o644); err != nil {
		log.Fatal(err)
	}
}

// tree is a tar under construction; parents of a file are made as needed.
type tree struct {
	buf  bytes.Buffer
	w    *tar.Writer
	dirs map[string]bool
}

func newTree() *tree {
	t := &tree{dirs: map[string]bool{}}
	t.w = tar.NewWriter(&t.buf)
	return t
}

func (t *tree) dir(name string, mode int64) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" || t.dirs[name] {
		return nil
	}
	if err := t.dir(path.Dir(name), 0o755); err != nil {
		return err
	}
	t.dirs[name] = true
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: time.Unix(0, 0)})
}

func (t *tree) file(name string, content []byte, mode int64) error {
	if err := t.dir(path.Dir(name), 0o755); err != nil {
		return err
	}
	err := t.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: mode,
		Size: int64(len(content)), ModTime: time.Unix(0, 0),
	})
	if err != nil {
		return err
	}
	_, err = t.w.Write(content)
	return err
}

func (t *tree) bytes() ([]byte, error) {
	err := t.w.Close()
	return t.buf.Bytes(), err
}

// add puts one argument in: SOURCE:/DESTINATION, or :/DIRECTORY[:MODE].
func (t *tree) add(arg string) error {
	source, destination, ok := strings.Cut(arg, ":")
	if !ok || !strings.HasPrefix(destination, "/") {
		return fmt.Errorf("want SOURCE:/DESTINATION or :/DIRECTORY[:MODE], got %q", arg)
	}
	if source == "" {
		destination, octal, ok := strings.Cut(destination, ":")
		if !ok {
			octal = "755"
		}
		mode, err := strconv.ParseInt(octal, 8, 64)
		if err != nil {
			return err
		}
		return t.dir(destination, mode)
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return t.file(destination, content, mode)
}

func buildLayer(args []string) ([]byte, error) {
	t := newTree()
	if err := t.dir("/tmp", 0o1777); err != nil {
		return nil, err
	}
	if err := t.file("/etc/passwd", []byte(users), 0o644); err != nil {
		return nil, err
	}
	if err := t.file("/etc/group", []byte(groups), 0o644); err != nil {
		return nil, err
	}
	if _, err := os.Stat(caCert); err == nil {
		if err := t.add(caCert + ":" + caCert); err != nil {
			return nil, err
		}
	} else {
		log.Printf("no %s on this machine: what runs in the image trusts no HTTPS server", caCert)
	}
	for _, arg := range args {
		if err := t.add(arg); err != nil {
			return nil, err
		}
	}
	return t.bytes()
}

func buildArchive(tag string, config map[string]any, layer []byte) ([]byte, error) {
	layerSum := fmt.Sprintf("%x", sha256.Sum256(layer))
	image, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerSum}},
	})
	if err != nil {
		return nil, err
	}
	imageName := fmt.Sprintf("%x.json", sha256.Sum256(image))
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": imageName, "RepoTags": []string{tag}, "Layers": []string{layerSum + "/layer.tar"},
	}})
	if err != nil {
		return nil, err
	}
	t := newTree()
	for _, f := range []struct {
		name    string
		content []byte
	}{{imageName, image}, {layerSum + "/layer.tar", layer}, {"manifest.json", manifest}} {
		if err := t.file(f.name, f.content, 0o644); err != nil {
			return nil, err
		}
	}
	return t.bytes()
}
