package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drp/replicator/storetest"
)

// twoStores are a source with some repositories, and an empty destination.
type twoStores struct{ from, to *storetest.Double }

func newTwoStores(t *testing.T, repositories ...string) *twoStores {
	t.Helper()
	s := &twoStores{storetest.NewDouble(t), storetest.NewDouble(t)}
	for _, name := range repositories {
		s.from.Store(name+"config", []byte("config"))
		for _, class := range []string{"keys", "data", "index", "snapshots"} {
			s.from.Store(name+objectName(class, class), []byte(class))
		}
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION", "DRP_FROM_ENDPOINT",
		"DRP_TO_ENDPOINT", "DRP_FROM_CREDENTIALS", "DRP_TO_CREDENTIALS", "DRP_FROM_SECRET_KEY", "DRP_TO_SECRET_KEY", "DRP_FROM_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	return s
}

func objectName(class, content string) string {
	sum := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(sum[:])
	if class == "data" {
		name = name[:2] + "/" + name
	}
	return class + "/" + name
}

// replicate runs the command with keys from the environment.
func (s *twoStores) replicate(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return replicateWith(t, append([]string{"--from-endpoint", s.from.Endpoint, "--to-endpoint", s.to.Endpoint}, args...)...)
}

func replicateWith(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	return runDRP(t, append([]string{"replicate"}, args...)...)
}

// runDRP runs a command in this process.
func runDRP(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var stdout bytes.Buffer
	root := newRootCommand()
	root.SetOut(&stdout)
	root.SetErr(&stdout)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		stdout.WriteString("error: " + err.Error())
	}
	return stdout.String(), exitCode(err)
}

func wantText(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("got %s\nwant %q in it", out, text)
		}
	}
}

func TestReplicate(t *testing.T) {
	s := newTwoStores(t, "customers/a/", "customers/b/")
	out, code := s.replicate(t, "--from", "s3://bucket/customers", "--to", "s3://bucket/copies/", "--bandwidth", "20MiB")
	if code != codeDone {
		t.Fatalf("exit code %d: %s", code, out)
	}
	wantText(t, out, "a: 5 objects", "1 snapshots there", "2 repositories: 0 unchanged, 2 copied, 0 failed; 10 objects")
	for key, content := range s.from.Objects() {
		if key = strings.Replace(key, "customers/", "copies/", 1); !bytes.Equal(s.to.Objects()[key], content) {
			t.Errorf("%s is not there", key)
		}
	}

	t.Run("again", func(t *testing.T) {
		out, code := s.replicate(t, "--from", "s3://bucket/customers", "--to", "s3://bucket/copies", "--json")
		var all copiedAll
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != codeDone || all.Unchanged != 2 || all.Objects != 0 {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
	t.Run("a repository by itself", func(t *testing.T) {
		out, code := s.replicate(t, "--from", "s3://bucket/customers/a", "--to", "s3://bucket/one")
		if _, ok := s.to.Objects()["one/config"]; !ok || code != codeDone {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
	t.Run("broken at the source", func(t *testing.T) {
		bad := objectName("data", "broken")
		s.from.Store("customers/b/"+bad, []byte("borken"))
		out, code := s.replicate(t, "--from", "s3://bucket/customers", "--to", "s3://bucket/copies")
		if code != codeRun {
			t.Errorf("exit code %d", code)
		}
		wantText(t, out, "b: 0 objects", "broken at the source: b/"+bad, "1 of 2 repositories are not complete")
		s.from.Forget("customers/b/" + bad)
	})
	t.Run("scrub", func(t *testing.T) {
		s.to.Store("copies/a/"+objectName("data", "data"), []byte("DATA"))
		out, code := s.replicate(t, "--from", "s3://bucket/customers", "--to", "s3://bucket/copies", "--scrub")
		if code != codeDone {
			t.Errorf("exit code %d", code)
		}
		wantText(t, out, "repaired: a/"+objectName("data", "data"), "b: 8 objects", "all good", "1 objects repaired at the destination, 0 repositories not sound")
		s.from.Store("customers/a/"+objectName("index", "index"), []byte("wrong"))
		if out, code = s.replicate(t, "--from", "s3://bucket/customers", "--to", "s3://bucket/copies", "--scrub"); code != codeRun {
			t.Errorf("exit code %d", code)
		}
		wantText(t, out, "broken at the source", "1 of 2 repositories are not sound")
	})
}

func TestReplicate_Refuses(t *testing.T) {
	s := newTwoStores(t, "a/")
	same := []string{"--to-endpoint", s.from.Endpoint} // the last one counts
	both := []string{"--from", "s3://bucket", "--to", "s3://bucket"}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing named":      {nil, codeUsage, "give --from"},
		"no s3":              {[]string{"--from", "bucket", "--to", "s3://bucket"}, codeUsage, "--from bucket: want s3://BUCKET"},
		"dots":               {[]string{"--from", "s3://bucket/../x", "--to", "s3://bucket"}, codeUsage, `no ".."`},
		"onto itself":        {append(same, both...), codeUsage, "the same place"},
		"into itself":        {append(same, "--from", "s3://bucket/a", "--to", "s3://bucket/a/copy"), codeUsage, "lies within"},
		"bandwidth":          {append(both, "--bandwidth", "fast"), codeUsage, "20MiB"},
		"a crawl":            {append(both, "--bandwidth", "3B"), codeUsage, "20MiB"},
		"parallel":           {append(both, "--parallel", "0"), codeUsage, "--parallel 0"},
		"endpoint":           {append(both, "--from-endpoint", "host:9000"), codeUsage, "endpoint"},
		"no credentials":     {append(both, "--from-credentials", "/nowhere"), codeUsage, "/nowhere"},
		"nothing there":      {[]string{"--from", "s3://bucket/b", "--to", "s3://bucket"}, codeFailed, "there is no repository"},
		"no bucket":          {[]string{"--from", "s3://other", "--to", "s3://bucket"}, codeFailed, "NoSuchBucket"},
		"no bucket to go to": {[]string{"--from", "s3://bucket", "--to", "s3://other"}, codeFailed, "NoSuchBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := s.replicate(t, c.args...)
			if code != c.code || len(s.to.Puts())+len(s.from.Puts()) > 0 {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			wantText(t, out, c.want)
		})
	}
}

// TestReplicate_Keys: a side's own keys come before those for both, a file before the environment, and never half a pair.
func TestReplicate_Keys(t *testing.T) {
	newTwoStores(t)
	s := &storeFlags{side: "from", name: "s3://bucket", endpoint: "http://store"}
	keys := func() (string, error) {
		c, _, err := s.config()
		return c.AccessKey + ":" + c.SecretKey, err
	}
	if _, err := keys(); err == nil || exitCode(err) != codeUsage || !strings.Contains(err.Error(), "DRP_FROM_SECRET_KEY") {
		t.Errorf("none: got %v", err)
	}
	want := func(text string) {
		t.Helper()
		if got, err := keys(); err != nil || got != text {
			t.Errorf("got %s and %v, want %s", got, err, text)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "aws")
	if got, err := keys(); err == nil {
		t.Errorf("half a pair: got %s", got)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "aws2")
	want("aws:aws2")
	t.Setenv("DRP_FROM_ACCESS_KEY", "own")
	t.Setenv("DRP_FROM_SECRET_KEY", "own2")
	want("own:own2")
	file := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(file, []byte("access_key: file\nsecret_key: file2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DRP_FROM_CREDENTIALS", file)
	want("file:file2")
	s.side = "to"
	want("aws:aws2")
}
