package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"drp/replicator"
)

// storeFlags name a bucket on the command line: a site's, or one of two sides.
type storeFlags struct {
	side                                string // "from", "to"; empty: the only one, of which the environment speaks as STORE
	name, endpoint, region, credentials string
}

// addFlags for it; what is what it is to the command.
func (s *storeFlags) addFlags(f *pflag.FlagSet, what string) {
	if s.side == "" {
		f.StringVar(&s.name, "store", "", what+": s3://BUCKET")
		f.StringVar(&s.endpoint, "endpoint", "", "`URL` of that store")
		f.StringVar(&s.region, "region", "", "its region")
		f.StringVar(&s.credentials, "credentials", "", "`FILE` with access_key and secret_key of that store")
		return
	}
	f.StringVar(&s.name, s.side, "", what+": s3://BUCKET[/PREFIX]")
	s.addPlaceFlags(f)
}

// addPlaceFlags are those that the environment can stand in for. The bucket's name is given elsewhere.
func (s *storeFlags) addPlaceFlags(f *pflag.FlagSet) {
	f.StringVar(&s.endpoint, s.flag("endpoint"), "", "`URL` of that store ($"+s.variable("ENDPOINT")+", $AWS_ENDPOINT_URL)")
	f.StringVar(&s.region, s.flag("region"), "", "its region ($"+s.variable("REGION")+", $AWS_REGION; us-east-1)")
	f.StringVar(&s.credentials, s.flag("credentials"), "", "`FILE` with its access_key and secret_key ($"+s.variable("CREDENTIALS")+
		"; or the keys in $"+s.variable("ACCESS_KEY")+" and $"+s.variable("SECRET_KEY")+", or $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY)")
}

func (s *storeFlags) flag(name string) string { return strings.TrimPrefix(s.side+"-"+name, "-") }

func (s *storeFlags) variable(name string) string {
	return "DRP_" + strings.ToUpper(cmp.Or(s.side, "store")) + "_" + name
}

// given is the store as it was typed.
func (s *storeFlags) given() string {
	if s.side == "" {
		return s.name
	}
	return "--" + s.side + " " + s.name
}

// open a bucket by its flags alone, without a gateway: there may be nobody left who would let us in.
func (s *storeFlags) open() (*replicator.Store, error) {
	bucket, ok := strings.CutPrefix(s.name, "s3://")
	if !ok || bucket == "" || strings.Contains(bucket, "/") || s.endpoint == "" || s.credentials == "" {
		return nil, usageError{fmt.Errorf("store %q: want s3://BUCKET, with --endpoint and --credentials", s.name)}
	}
	config, err := storeConfig{Endpoint: s.endpoint, Bucket: bucket, Region: s.region, Credentials: s.credentials}.open()
	if err != nil {
		return nil, err
	}
	config.Retries = 3
	return replicator.Open(config)
}

// config returns one side's configuration and folder ("" or "PREFIX/"), completed from the environment.
func (s *storeFlags) config() (config replicator.StoreConfig, folder string, err error) {
	bucket, folder, err := parseStore(s.name)
	if err != nil {
		return config, "", usageError{fmt.Errorf("%s: %w", s.given(), err)}
	}
	config = replicator.StoreConfig{
		Endpoint: cmp.Or(s.endpoint, os.Getenv(s.variable("ENDPOINT")), os.Getenv("AWS_ENDPOINT_URL")),
		Region:   cmp.Or(s.region, os.Getenv(s.variable("REGION")), os.Getenv("AWS_REGION")),
		Bucket:   bucket,
	}
	if config.Endpoint == "" {
		return config, "", usageError{fmt.Errorf("%s: at which store? Give --%s https://HOST:PORT, or $%s",
			s.given(), s.flag("endpoint"), s.variable("ENDPOINT"))}
	}
	keys, err := s.keys()
	if err != nil {
		return config, "", usageError{fmt.Errorf("%s: %w", s.given(), err)}
	}
	config.AccessKey, config.SecretKey = keys.AccessKey, keys.SecretKey
	if _, err := replicator.Open(config); err != nil { // it sends nothing
		return config, "", usageError{fmt.Errorf("%s: %w", s.given(), err)}
	}
	return config, folder, nil
}

// keys takes the first place that has any; both of a pair come from one place.
func (s *storeFlags) keys() (storeKeys, error) {
	if file := cmp.Or(s.credentials, os.Getenv(s.variable("CREDENTIALS"))); file != "" {
		return readStoreKeys(file)
	}
	for _, pair := range [][2]string{
		{s.variable("ACCESS_KEY"), s.variable("SECRET_KEY")}, {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
	} {
		keys := storeKeys{os.Getenv(pair[0]), os.Getenv(pair[1])}
		if (keys.AccessKey == "") != (keys.SecretKey == "") {
			return keys, fmt.Errorf("one of $%s and $%s is set and the other is not", pair[0], pair[1])
		}
		if keys.AccessKey != "" {
			return keys, nil
		}
	}
	return storeKeys{}, fmt.Errorf("no keys of that store: give --%s FILE, or set $%s and $%s",
		s.flag("credentials"), s.variable("ACCESS_KEY"), s.variable("SECRET_KEY"))
}

// parseStore reads s3://BUCKET[/PREFIX].
func parseStore(name string) (bucket, folder string, err error) {
	rest, ok := strings.CutPrefix(name, "s3://")
	bucket, folder, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return "", "", errors.New("want s3://BUCKET or s3://BUCKET/PREFIX")
	}
	folder = strings.TrimSuffix(folder, "/")
	if folder == "" {
		return bucket, "", nil
	}
	for part := range strings.SplitSeq(folder, "/") {
		if part == "" || part == "." || part == ".." {
			return "", "", fmt.Errorf("want s3://BUCKET/PREFIX, and no %q in the prefix", part)
		}
	}
	return bucket, folder + "/", nil
}
