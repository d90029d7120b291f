namespace ObjectStore.Gateway;

/// <summary>Settings of the S3 gateway. Validated at start.</summary>
public sealed class GatewayOptions
{
    /// <summary>The region that buckets are made in unless the client names one; what AWS tools assume.</summary>
    public string Region { get; init; } = "us-east-1";

    /// <summary>Domains under which a bucket is a subdomain (virtual-host style), for example <c>s3.example.com</c>. Path style always works.</summary>
    public IReadOnlyList<string> Domains { get; init; } = ["localhost", "s3.localhost"];

    /// <summary>Request bodies that are in memory at once for small objects and XML, in bytes; more wait their turn. 64 MiB unless set.</summary>
    public long BufferedBodyLimitBytes { get; init; } = 64L << 20;

    /// <summary>Streaming uploads and copies at once; each holds a few blocks. More are answered with SlowDown.</summary>
    public int MaxConcurrentStreams { get; init; } = 256;
}
