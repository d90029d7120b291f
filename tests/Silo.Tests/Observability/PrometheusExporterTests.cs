using System.Diagnostics.Metrics;
using System.Globalization;
using ObjectStore.Silo.Observability;

namespace ObjectStore.Silo.Tests.Observability;

public sealed class PrometheusExporterTests
{
    [Fact]
    public void ObservedValue_ThatIsReportedNoLonger_IsGone_AndComesBackWithItsNewOne()
    {
        using PrometheusExporter exporter = new();
        using Meter meter = new("ObjectStore.ExporterTests.Gone");
        List<Measurement<long>> reported = [Drive(10, "a"), Drive(20, "b")];
        meter.CreateObservableGauge("exporter.gone", () => reported, "By");
        Assert.Equal(["exporter_gone_bytes{drive=\"a\"} 10", "exporter_gone_bytes{drive=\"b\"} 20"], Lines(exporter, "exporter_gone_bytes"));
        reported.RemoveAt(0);
        Assert.Equal(["exporter_gone_bytes{drive=\"b\"} 20"], Lines(exporter, "exporter_gone_bytes"));
        reported.Clear();
        Assert.DoesNotContain("exporter_gone", exporter.Render(), StringComparison.Ordinal);
        reported.Add(Drive(11, "a"));
        Assert.Equal(["exporter_gone_bytes{drive=\"a\"} 11"], Lines(exporter, "exporter_gone_bytes"));
    }

    [Fact]
    public void CountedValue_StaysBetweenRenderings()
    {
        using PrometheusExporter exporter = new();
        using Meter meter = new("ObjectStore.ExporterTests.Stays");
        Counter<long> counter = meter.CreateCounter<long>("exporter.stays");
        counter.Add(2);
        Assert.Equal(["exporter_stays_total 2"], Lines(exporter, "exporter_stays_total"));
        counter.Add(3);
        Assert.Equal(["exporter_stays_total 5"], Lines(exporter, "exporter_stays_total"));
        Assert.Equal(["exporter_stays_total 5"], Lines(exporter, "exporter_stays_total"));
    }

    [Fact]
    public void TwoExporters_BothHearOfWhatOneThreadRecords()
    {
        using PrometheusExporter first = new(), second = new();
        using Meter meter = new("ObjectStore.ExporterTests.Two");
        Counter<long> counter = meter.CreateCounter<long>("exporter.two");
        counter.Add(1);
        Assert.Equal(["exporter_two_total 1"], Lines(first, "exporter_two_total"));
        Assert.Equal(["exporter_two_total 1"], Lines(second, "exporter_two_total"));
    }

    [Fact]
    public void SeriesBeyondTheBound_AreDropped_AndCounted()
    {
        using PrometheusExporter exporter = new();
        using Meter meter = new("ObjectStore.ExporterTests.Bound");
        Counter<long> counter = meter.CreateCounter<long>("exporter.bound");
        for (int i = 0; i < 6000; i++) counter.Add(1, new KeyValuePair<string, object?>("key", i));
        int shown = Lines(exporter, "exporter_bound_total").Length;
        Assert.InRange(shown, 1, 5000);

        // Meters of tests that run beside this one may be among the dropped.
        string dropped = Assert.Single(Lines(exporter, "objectstore_metrics_dropped_total"));
        Assert.InRange(long.Parse(dropped.Split(' ')[1], CultureInfo.InvariantCulture), 6000 - shown, long.MaxValue);
    }

    [Fact]
    public void Measurement_UnderWayWhileTheExporterIsDisposed_DoesNotFailItsCaller()
    {
        PrometheusExporter exporter = new();
        using Meter meter = new("ObjectStore.ExporterTests.Disposed");
        Counter<long> counter = meter.CreateCounter<long>("exporter.disposed");
        Disposing value = new(exporter);

        // More than three tags are made text as soon as the measurement comes.
        counter.Add(1, [new("a", value), new("b", 1), new("c", 1), new("d", 1)]);
        Assert.True(value.IsDone);
    }

    private sealed class Disposing(PrometheusExporter exporter)
    {
        public bool IsDone { get; private set; }

        public override string ToString()
        {
            exporter.Dispose();
            IsDone = true;
            return "value";
        }
    }

    private static Measurement<long> Drive(long value, string drive) => new(value, new KeyValuePair<string, object?>("drive", drive));

    private static string[] Lines(PrometheusExporter exporter, string name) =>
        [.. exporter.Render().Split('\n').Where(line => line.StartsWith(name, StringComparison.Ordinal))];
}
