using System.Net.Http.Headers;
using System.Text.Json;

namespace ObjectStore.LossTest;

/// <summary>What the node says of its redundancy.</summary>
/// <param name="IncompleteSlots">Shards of placement groups whose drive has not everything yet.</param>
/// <param name="UnreachableSlots">Shards whose drive does not answer.</param>
/// <param name="QueuedRepairs">Fragments known to be missing or damaged.</param>
/// <param name="IsScrubbing">Whether a scrub that was asked for is still under way.</param>
public sealed record Redundancy(long IncompleteSlots, long UnreachableSlots, long QueuedRepairs, bool IsScrubbing, int UsableDrives)
{
    public bool IsWhole => IncompleteSlots == 0 && UnreachableSlots == 0 && QueuedRepairs == 0 && !IsScrubbing;
}

/// <summary>Talks to the node's operator endpoints.</summary>
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

    /// <summary>Asks for every fragment to be read and verified now, as fast as it goes.</summary>
    public void StartScrub()
    {
        using HttpRequestMessage request = new(HttpMethod.Post, "/admin/v1/scrub");
        request.Headers.Add("x-objectstore-admin-token", File.ReadAllText(tokenFile).Trim());
        request.Content = new ByteArrayContent("{\"action\":\"start\"}"u8.ToArray());
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using HttpResponseMessage answer = _http.Send(request);
        if (!answer.IsSuccessStatusCode) throw new InvalidOperationException($"Asking for a scrub: {(int)answer.StatusCode}");
    }

    public void Dispose() => _http.Dispose();
}
