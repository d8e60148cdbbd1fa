"""The worker beside the library that players write CMCD with (npm's `@svta/cml-cmcd`)."""
