package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drp/replicator/storecheck"
	"drp/replicator/storetest"
)

func TestStoreCheck(t *testing.T) {
	newTwoStores(t) // nothing of the environment counts
	d := storetest.NewDouble(t)
	d.Clock = time.Now
	t.Setenv("DRP_STORE_ENDPOINT", "")
	t.Setenv("DRP_STORE_CREDENTIALS", "")
	t.Setenv("DRP_STORE_ACCESS_KEY", "key")
	t.Setenv("DRP_STORE_SECRET_KEY", "secret")
	out, code := runDRP(t, "store", "check", "s3://"+d.Bucket, "--endpoint", d.Endpoint)
	if code != codeDone || len(d.Objects()) > 0 {
		t.Errorf("exit code %d, %d objects are left: %s", code, len(d.Objects()), out)
	}
	wantText(t, out, "ok       list-complete", "no       object-lock", "not guaranteed: that who has the store's key", "unknown  retention",
		"ok       versioning         the bucket keeps no versions, and says so", "ok       unfinished-uploads an unfinished upload in parts is listed and aborted",
		"measured write a large object", "22 ok, 1 no, 1 unknown: all that drp needs holds")

	t.Run("unfit", func(t *testing.T) {
		d.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Put && strings.HasSuffix(c.Key, "/large") {
				return &storetest.Fault{Status: http.StatusBadRequest, Code: "EntityTooLarge"}
			}
			return nil
		}
		out, code := runDRP(t, "store", "check", "s3://"+d.Bucket+"/below", "--endpoint", d.Endpoint, "--json")
		document, last, _ := strings.Cut(out, "error: ")
		var r storecheck.Report
		if err := json.Unmarshal([]byte(document), &r); err != nil || code != codeUnfit || r.Fit || !strings.Contains(last, "large-put") || len(d.Objects()) > 0 {
			t.Errorf("exit code %d, %v: %s", code, err, out)
		}
		if puts := d.Puts(); !strings.HasPrefix(puts[len(puts)-1], "below/.drp-check-") {
			t.Errorf("it wrote %s", puts[len(puts)-1])
		}
	})
}

func TestStoreCheck_Refuses(t *testing.T) {
	s := newTwoStores(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(file, []byte("access_key: key\nsecret_key: secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no store":    {nil, codeFailed, "1 arg"}, // cobra's own; markStart makes it 2
		"no s3":       {[]string{"bucket", "--endpoint", s.from.Endpoint}, codeUsage, "bucket: want s3://BUCKET"},
		"no endpoint": {[]string{"s3://bucket"}, codeUsage, "Give --endpoint https://HOST:PORT, or $DRP_STORE_ENDPOINT"},
		"no scheme":   {[]string{"s3://bucket", "--endpoint", "127.0.0.1:9000", "--credentials", file}, codeUsage, `endpoint "127.0.0.1:9000": want http://HOST:PORT or https://HOST:PORT`},
		"a path":      {[]string{"s3://bucket", "--endpoint", s.from.Endpoint + "/bucket", "--credentials", file}, codeUsage, `/bucket": want http://HOST:PORT`},
		"no keys":     {[]string{"s3://bucket", "--endpoint", s.from.Endpoint}, codeUsage, "give --credentials FILE, or set $DRP_STORE_ACCESS_KEY"},
		"elsewhere":   {[]string{"s3://other", "--endpoint", s.from.Endpoint, "--credentials", file}, codeFailed, "it is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := runDRP(t, append([]string{"store", "check"}, c.args...)...)
			if code != c.code || len(s.from.Puts()) > 0 {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			wantText(t, out, c.want)
		})
	}
}
