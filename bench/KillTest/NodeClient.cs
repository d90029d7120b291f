using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;

namespace ObjectStore.KillTest;

/// <summary>What the node says of its redundancy.</summary>
/// <param name="IncompleteSlots">Shards of placement groups whose drive has not everything yet.</param>
/// <param name="UnreachableSlots">Shards whose drive does not answer.</param>
/// <param name="QueuedRepairs">Fragments known to be missing or damaged.</param>
/// <param name="IsScrubbing">Whether a scrub that was asked for is still under way.</param>
public sealed record Redundancy(long IncompleteSlots, long UnreachableSlots, long QueuedRepairs, bool IsScrubbing, int UsableDrives)
{
    public bool IsWhole => IncompleteSlots == 0 && UnreachableSlots == 0 && QueuedRepairs == 0 && !IsScrubbing;
}

/// <summary>A drive as the map has it.</summary>
/// <param name="State">up, suspect, down, out, draining or removed.</param>
public sealed record NodeDrive(Guid DriveId, string Path, string State);

/// <summary>Talks to the node's operator and admin endpoints.</summary>
public sealed class NodeClient(int port, string tokenFile) : IDisposable
{
    private readonly HttpClient _http = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = TimeSpan.FromSeconds(30) };

    public Redundancy GetRedundancy()
    {
        using HttpRequestMessage request = new(HttpMethod.Get, "/health");
        using HttpResponseMessage answer = _http.Send(request);
        using JsonDocument document = JsonDocument.Parse(answer.Content.ReadAsStream());
        JsonElement repair = document.RootElement.GetProperty("repair");
        int usable = document.RootElement.GetProperty("drives").EnumerateArray().Count(drive => drive.GetProperty("state").GetString() is "Healthy" or "Degraded");
        return new Redundancy(repair.GetProperty("incompleteSlots").GetInt64(), repair.GetProperty("unreachableSlots").GetInt64(), repair.GetProperty("queued").GetInt64(), repair.GetProperty("scrubbing").GetBoolean(), usable);
    }

    /// <summary>A counter or gauge of /metrics, summed over its labels; 0 where there is none.</summary>
    public double GetMetric(string name)
    {
        using HttpRequestMessage request = new(HttpMethod.Get, "/metrics");
        using HttpResponseMessage answer = _http.Send(request);
        using StreamReader reader = new(answer.Content.ReadAsStream());
        double sum = 0;
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith(name, StringComparison.Ordinal) && line.Length > name.Length && line[name.Length] is ' ' or '{')
                sum += double.Parse(line.AsSpan(line.LastIndexOf(' ') + 1), CultureInfo.InvariantCulture);
        }

        return sum;
    }

    /// <summary>The drives of the pool, those that are gone included.</summary>
    public IReadOnlyList<NodeDrive> GetDrives()
    {
        using HttpRequestMessage request = new(HttpMethod.Get, "/admin/v1/drives");
        using JsonDocument document = Ask(request);
        return [.. document.RootElement.GetProperty("drives").EnumerateArray().Select(drive => new NodeDrive(
            drive.GetProperty("driveId").GetGuid(), drive.GetProperty("path").GetString()!, drive.GetProperty("state").GetString()!))];
    }

    /// <summary>Blocks of which too few fragments are left, as far as repair has looked since the server started.</summary>
    public long CountLostBlocks()
    {
        using HttpRequestMessage request = new(HttpMethod.Get, "/admin/v1/status");
        using JsonDocument document = Ask(request);
        return document.RootElement.GetProperty("repair").GetProperty("lostBlocks").GetInt64();
    }

    /// <summary>Drains a drive, or takes it back: up, draining, out or removed.</summary>
    public void SetState(Guid drive, string state) => Post($"/admin/v1/drives/{drive}/state", JsonSerializer.Serialize(new { state, force = false }));

    /// <summary>Asks for every fragment to be read and verified now, as fast as it goes.</summary>
    public void StartScrub() => Post("/admin/v1/scrub", "{\"action\":\"start\"}");

    public void Dispose() => _http.Dispose();

    private void Post(string path, string body)
    {
        using HttpRequestMessage request = new(HttpMethod.Post, path) { Content = new StringContent(body, MediaTypeHeaderValue.Parse("application/json")) };
        Ask(request).Dispose();
    }

    private JsonDocument Ask(HttpRequestMessage request)
    {
        request.Headers.Add("x-objectstore-admin-token", File.ReadAllText(tokenFile).Trim());
        using HttpResponseMessage answer = _http.Send(request);
        if (!answer.IsSuccessStatusCode) throw new InvalidOperationException($"{request.Method} {request.RequestUri}: {(int)answer.StatusCode} {new StreamReader(answer.Content.ReadAsStream()).ReadToEnd()}");
        return JsonDocument.Parse(answer.Content.ReadAsStream());
    }
}
