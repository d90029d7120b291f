using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>Clients who fare as the test says; null is no clients.</summary>
internal sealed class TestLatency : IForegroundLatency
{
    public TimeSpan? P99 { get; set; } = TimeSpan.FromMilliseconds(3);

    public TimeSpan? GetP99() => P99;
}
