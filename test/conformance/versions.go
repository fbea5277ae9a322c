package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/crossfade-io/crossfade/test/lab"
)

var number = regexp.MustCompile(`\d+\.\d+[\w.-]*`)

// versionOf names a kind of store or the program of a suite with its version, as far
// as it can be found out.
func versionOf(ctx context.Context, name string) string {
	switch name {
	case kindVersityGW, kindVersions: // stores and suites are of one program
		return "versitygw " + moduleVersion("versitygw", "")
	case kindRGW:
		return "Ceph RGW " + said(ctx, "radosgw", "--version")
	case minioGoSuite:
		return "minio-go " + moduleVersion("minio-go-functional", "github.com/minio/minio-go/v7")
	case sdkGoSuite:
		self, _ := os.Executable()
		return "AWS SDK for Go v2 (S3) " + moduleVersion(self, "github.com/aws/aws-sdk-go-v2/service/s3")
	case "mc":
		return "mc " + moduleVersion("mc", "")
	case "sdk-js":
		return "AWS SDK for JavaScript " + packageVersion(filepath.Join(os.Getenv("CONFORMANCE_NODE"), "node_modules/@aws-sdk/client-s3/package.json"))
	case "boto3":
		return "boto3 " + said(ctx, "python3", "-c", "import boto3; print(boto3.__version__)")
	case "awscli":
		return "AWS CLI " + said(ctx, "aws", "--version")
	case "rclone", "restic":
		return name + " " + said(ctx, name, "version")
	}
	return name + " " + said(ctx, name, "--version")
}

const unknownVersion = "of an unknown version"

// said is the first number in what a program prints.
func said(ctx context.Context, argv ...string) string {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if v := number.Find(out); err == nil && v != nil {
		return string(v)
	}
	return unknownVersion
}

// moduleVersion is that of a Go program, or of a module in it.
func moduleVersion(program, module string) string {
	path := program
	if !filepath.IsAbs(path) {
		path, _ = lab.FindBinary(program)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return unknownVersion
	}
	if module == "" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return strings.TrimPrefix(dep.Version, "v")
		}
	}
	return unknownVersion
}

func packageVersion(file string) string {
	var p struct{ Version string }
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &p) != nil || p.Version == "" {
		return unknownVersion
	}
	return p.Version
}

// build tells one build of Crossfade from another.
func build() (string, error) {
	path, err := lab.FindBinary("crossfade")
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
