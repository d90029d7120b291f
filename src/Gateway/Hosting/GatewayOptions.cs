namespace ObjectStore.Gateway;

/// <summary>Settings of the S3 gateway. Validated at start.</summary>
public sealed class GatewayOptions
{
    /// <summary>The region that buckets are made in unless the client names one; what AWS tools assume.</summary>
    public string Region { get; init; } = "us-east-1";

    /// <summary>Domains under which a bucket is a subdomain (virtual-host style), for example <c>s3.example.com</c>. Path style always works.</summary>
    public IReadOnlyList<string> Domains { get; init; } = ["localhost", "s3.localhost"];

    /// <summary>Bodies of small objects in memory at once, 128 KiB each at most; more wait their turn. 512 unless set, which is 64 MiB.</summary>
    public int MaxBufferedBodies { get; init; } = 512;

    /// <summary>Bytes of XML bodies in memory at once, as they have arrived, of which one may have 8 MiB. Whose body goes beyond them is answered with SlowDown. 128 MiB unless set.</summary>
    public long MaxXmlBytes { get; init; } = 128 << 20;

    /// <summary>Streaming uploads and copies at once; each holds a few blocks. More are answered with SlowDown.</summary>
    public int MaxConcurrentStreams { get; init; } = 256;

    /// <summary>The longest that the bytes of one upload or part may take to arrive; less than the orphan grace, which is 72 h, by more than clocks differ. 48 h unless set.</summary>
    public TimeSpan LongestWrite { get; init; } = TimeSpan.FromHours(48);
}
