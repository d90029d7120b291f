using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace ObjectStore.Storage.Transport;

/// <summary>The instruments of the meter "ObjectStore.Storage.Transport", and the traces of the source of the same name. Without a listener nothing is made.</summary>
internal static class TransportMetrics
{
    public const string MeterName = "ObjectStore.Storage.Transport";
    private static readonly Meter Meter = new(MeterName);
    private static readonly ActivitySource Source = new(MeterName);

    public static readonly Histogram<double> ClientDuration = Meter.CreateHistogram<double>("objectstore.transport.client.duration", "s", "A request to another node, retries included.");
    public static readonly Counter<long> ClientBytes = Meter.CreateCounter<long>("objectstore.transport.client.bytes", "By", "Payload bytes to and from other nodes.");
    public static readonly Counter<long> ClientRetries = Meter.CreateCounter<long>("objectstore.transport.client.retries", "{retry}");
    public static readonly Histogram<int> BatchFragments = Meter.CreateHistogram<int>("objectstore.transport.batch.fragments", "{fragment}", "Small writes that shared one request.");
    public static readonly UpDownCounter<long> NodesUnreachable = Meter.CreateUpDownCounter<long>("objectstore.transport.nodes.unreachable", "{node}");
    public static readonly Histogram<double> ServerDuration = Meter.CreateHistogram<double>("objectstore.transport.server.duration", "s", "A request of another node, until its answer is made.");
    public static readonly UpDownCounter<long> ServerBytesInFlight = Meter.CreateUpDownCounter<long>("objectstore.transport.server.inflight", "By", "Buffers of requests under way.");
    public static readonly Counter<long> ServerRefused = Meter.CreateCounter<long>("objectstore.transport.server.refused", "{request}", "Requests answered without being looked at further, by reason.");

    public static KeyValuePair<string, object?> Operation(FragmentRequest request) => new("operation", FragmentProtocol.NameOf(request));

    public static KeyValuePair<string, object?> Outcome(string outcome) => new("outcome", outcome);

    public static Activity? StartClient(FragmentRequest request, Guid drive, Uri node) => Source.HasListeners()
        ? Source.StartActivity($"fragments.{FragmentProtocol.NameOf(request)}", ActivityKind.Client)?.SetTag("objectstore.drive", drive.ToString()).SetTag("server.address", node.Authority)
        : null;

    public static Activity? StartServer(FragmentRequest request, Guid drive) => Source.HasListeners()
        ? Source.StartActivity($"fragments.serve.{FragmentProtocol.NameOf(request)}")?.SetTag("objectstore.drive", drive.ToString())
        : null;
}
