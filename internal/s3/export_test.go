package s3

// NastyKeys are the keys of nastyKeys, for tests outside of the package.
func NastyKeys() []string {
	seen := make(map[string]bool)
	var keys []string
	for _, key := range nastyKeys {
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}
