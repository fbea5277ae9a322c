package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"text/template"

	"github.com/crossfade-io/crossfade/test/lab"
)

// What one would configure for a store: kept connections, bodies streamed both
// ways and never spilled to disk, buffers as large as Crossfade's.
var nginxText = template.Must(template.New("").Parse(`daemon off;
worker_processes {{.Cores}};
worker_rlimit_nofile 8192;
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/nginx-error.log;
{{if .Root}}user root;{{end}}
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path {{.Dir}}/nginx-body;
  proxy_temp_path {{.Dir}}/nginx-proxy;
  fastcgi_temp_path {{.Dir}}/nginx-fastcgi;
  uwsgi_temp_path {{.Dir}}/nginx-uwsgi;
  scgi_temp_path {{.Dir}}/nginx-scgi;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_max_body_size 0;
  client_body_buffer_size 64k;
  upstream store {
    server {{.Store}};
    keepalive 512;
    keepalive_requests 100000000;
  }
  server {
    listen {{.Listen}};
    location / {
      proxy_pass http://store;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }
  }
}
`))

func startNginx(ctx context.Context, dir, store string) (*lab.Process, string, error) {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		return nil, "", err
	}
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	path := filepath.Join(dir, "nginx.conf")
	f, err := os.Create(path)
	if err != nil {
		return nil, "", err
	}
	err = nginxText.Execute(f, map[string]any{"Cores": runtime.NumCPU(), "Dir": dir, "Store": store, "Listen": listen, "Root": os.Getuid() == 0})
	if err := f.Close(); err != nil {
		return nil, "", err
	}
	if err != nil {
		return nil, "", err
	}
	p, err := lab.Start(dir, "nginx", nil, bin, "-c", path, "-p", dir, "-e", filepath.Join(dir, "nginx-error.log"))
	if err != nil {
		return nil, "", err
	}
	return p, listen, p.AwaitTCP(ctx, listen)
}
