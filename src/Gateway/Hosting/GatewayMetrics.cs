using System.Diagnostics;
using System.Diagnostics.Metrics;
using ObjectStore.S3.Routing;

namespace ObjectStore.Gateway;

/// <summary>The gateway's instruments, by OpenTelemetry's names for HTTP servers.</summary>
internal static class GatewayMetrics
{
    public static readonly ActivitySource Source = new("ObjectStore.Gateway");
    private static readonly Meter Meter = new("ObjectStore.Gateway");
    private static readonly Histogram<double> Duration = Meter.CreateHistogram<double>("http.server.request.duration", "s", "Time from the request's head to the response's end.");
    private static readonly Counter<long> Received = Meter.CreateCounter<long>("objectstore.gateway.received", "By", "Object bytes received.");
    private static readonly Counter<long> Sent = Meter.CreateCounter<long>("objectstore.gateway.sent", "By", "Object bytes sent.");
    private static readonly string[] OperationNames = MakeNames();

    public static void Record(S3Operation operation, int status, TimeSpan elapsed)
    {
        if (!Duration.Enabled) return;
        Duration.Record(
            elapsed.TotalSeconds,
            new KeyValuePair<string, object?>("s3.operation", OperationNames[(int)operation]),
            new KeyValuePair<string, object?>("http.response.status_code", BoxedStatus.Of(status)));
    }

    public static void BytesReceived(long bytes) => Received.Add(bytes);

    public static void BytesSent(long bytes) => Sent.Add(bytes);

    private static string[] MakeNames()
    {
        string[] names = new string[(int)Enum.GetValues<S3Operation>().Max() + 1];
        foreach (S3Operation operation in Enum.GetValues<S3Operation>()) names[(int)operation] = operation.ToString();
        return names;
    }

    private static class BoxedStatus
    {
        private static readonly object[] Boxes = [.. Enumerable.Range(0, 600).Select(status => (object)status)];

        public static object Of(int status) => (uint)status < (uint)Boxes.Length ? Boxes[status] : status;
    }
}
