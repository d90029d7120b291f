using ObjectStore.Silo.Hosting;

namespace ObjectStore.Silo.Tests.Hosting;

public sealed class ServiceStateTests
{
    [Fact]
    public void Service_IsReadyFromServingUntilTheStop()
    {
        ServiceState state = new();
        Assert.False(state.IsReady);
        state.Serve();
        Assert.True(state.IsReady);
        state.Stop();
        Assert.False(state.IsReady);
    }

    [Fact]
    public void Service_ThatIsToldToStopWhileItStarts_NeverBecomesReady()
    {
        ServiceState state = new();
        state.Stop();
        state.Serve();
        Assert.False(state.IsReady);
    }
}
