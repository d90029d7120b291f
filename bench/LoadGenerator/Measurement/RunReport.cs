using System.Text.Json;

namespace ObjectStore.LoadGenerator.Measurement;

/// <summary>The outcome of one run, as the JSON line on stdout. Latencies are in microseconds, MB are 10^6 bytes.</summary>
public sealed record RunReport
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public required string Label { get; init; }
    public required string Mode { get; init; }
    public required long SizeBytes { get; init; }
    public required int Connections { get; init; }
    public required long Keys { get; init; }
    public required int Distinct { get; init; }
    public required string Payload { get; init; }
    public required ulong Seed { get; init; }
    public required double PreloadSeconds { get; init; }
    public required double Seconds { get; init; }
    public required long Operations { get; init; }
    public required double OpsPerSecond { get; init; }
    public required double MbPerSecond { get; init; }
    public required long BytesSent { get; init; }
    public required long BytesReceived { get; init; }
    public required long KeysListed { get; init; }
    public required double KeysPerSecond { get; init; }
    public required double LatencyMeanUs { get; init; }
    public required double LatencyP50Us { get; init; }
    public required double LatencyP90Us { get; init; }
    public required double LatencyP99Us { get; init; }
    public required double LatencyP999Us { get; init; }
    public required double LatencyMaxUs { get; init; }
    public required long Verified { get; init; }
    public required long Mismatches { get; init; }
    public required long ErrorCount { get; init; }
    public required IReadOnlyDictionary<string, long> Errors { get; init; }
    public required int Reconnects { get; init; }
    public required double GeneratorCpuSeconds { get; init; }
    public required double GeneratorCpuUsPerOp { get; init; }
    public required double? ServerCpuSeconds { get; init; }
    public required double? ServerCpuUsPerOp { get; init; }
    public required long? ServerRssBytes { get; init; }
    public required long? ServerRssMaxSampledBytes { get; init; }
    public required long? ServerPeakRssBytes { get; init; }
    public required string Stopped { get; init; }

    /// <summary>The JSON line, without the line end.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}
