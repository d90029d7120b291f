using System.Globalization;
using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin.Durability;

/// <summary>What a node's /metrics says about its repair. What it does not say leaves its value null.</summary>
/// <param name="DriveBytes">The largest of the node's drives.</param>
/// <param name="Source">Words for people: which metrics, from where.</param>
internal sealed record MeasuredRepair(double? BytesPerSecond, double? DriveBytes, int? Drives, string Source);

/// <summary>Reads the rate of repair, and the drives, from the text that a node gives at /metrics.</summary>
internal static class MetricsSource
{
    // Payload of the fragments rebuilt, and the time in which repair was at work on at least one block; both since the node started.
    private const string Bytes = "objectstore_repair_bytes_rebuilt_bytes_total";
    private const string Seconds = "objectstore_repair_active_seconds_total";
    private const string Capacity = "objectstore_drive_capacity_bytes";

    /// <exception cref="CommandFailedException">The node does not answer, or not with metrics.</exception>
    public static async Task<MeasuredRepair> MeasureAsync(HttpClient http, Uri endpoint, CancellationToken cancellationToken)
    {
        Uri address = new(endpoint, "/metrics");
        string text;
        try
        {
            using HttpResponseMessage response = await http.GetAsync(address, cancellationToken);
            if (!response.IsSuccessStatusCode) throw new CommandFailedException($"{address} answered {(int)response.StatusCode}; is --endpoint a node of ObjectStore?");
            text = await response.Content.ReadAsStringAsync(cancellationToken);
        }
        catch (Exception e) when (e is HttpRequestException || (e is TaskCanceledException && !cancellationToken.IsCancellationRequested))
        {
            throw new CommandFailedException($"{address} cannot be read: {e.Message}", e);
        }

        return Parse(text, address.ToString());
    }

    public static MeasuredRepair Parse(string text, string from)
    {
        Dictionary<string, List<double>> samples = new(StringComparer.Ordinal);
        foreach (string line in text.Split('\n'))
        {
            if (line.Length == 0 || line[0] == '#') continue;
            int space = line.LastIndexOf(' ');
            if (space <= 0 || !double.TryParse(line.AsSpan(space + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) || !double.IsFinite(value)) continue;
            int labels = line.IndexOf('{', StringComparison.Ordinal);
            string name = labels > 0 ? line[..labels] : line[..space];
            if (!samples.TryGetValue(name, out List<double>? values)) samples[name] = values = [];
            values.Add(value);
        }

        double[] capacities = [.. (samples.GetValueOrDefault(Capacity) ?? []).Where(value => value > 0)];
        double? driveBytes = capacities.Length > 0 ? capacities.Max() : null;
        int? drives = capacities.Length > 0 ? capacities.Length : null;
        return Sum(Bytes) is > 0 and var rebuilt && Sum(Seconds) is > 0 and var busy
            ? new MeasuredRepair(rebuilt / busy, driveBytes, drives, $"measured: {Bytes} / {Seconds} at {from}")
            : new MeasuredRepair(null, driveBytes, drives, $"nothing has been repaired yet at {from}");

        double Sum(string name) => samples.GetValueOrDefault(name)?.Sum() ?? 0;
    }
}
